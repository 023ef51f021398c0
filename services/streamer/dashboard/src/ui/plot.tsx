// Plots over time: uPlot on a canvas, in the colours of the page, with its figures as
// a table for who cannot see it.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { useTheme } from "./theme";

export interface Line {
  name: string;
  /** A custom property of the page, e.g. "--good". */
  colour: string;
  values: (number | null)[];
  fill?: boolean;
}

export function Plot({
  label,
  times,
  lines,
  unit,
  least = 1,
  height = 176,
}: {
  label: string;
  /** Unix seconds. */
  times: number[];
  lines: Line[];
  unit: (value: number) => string;
  /** How far up the axis goes at least. */
  least?: number;
  height?: number;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  // Drawn anew when other lines are shown, or when a lone point has become a line.
  const names = lines
    .map((line) => line.name + (line.values.filter((one) => one !== null).length === 1))
    .join();

  useEffect(() => {
    const holder = box.current;
    if (holder === null) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--faint"),
      font: `11px ${style.getPropertyValue("--sans")}`,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const made = new uPlot(
      {
        width: holder.clientWidth,
        height,
        padding: [8, 22, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 7 } },
        scales: { y: { range: (_, __, max) => [0, Math.max(least, max * 1.15)] } },
        axes: [
          {
            ...axis,
            size: 26,
            gap: 6,
            space: 70,
            values: (_, ticks) => ticks.map(hour),
          },
          {
            ...axis,
            size: 54,
            gap: 6,
            space: 34,
            values: (_, ticks) => ticks.map((tick) => (tick === 0 ? "0" : unit(tick))),
          },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.name,
            stroke: colour(line.colour),
            width: 2,
            // One point alone would be no line.
            points: { show: line.values.filter((one) => one !== null).length === 1 },
            spanGaps: true,
            ...(line.fill ? { fill: `${colour(line.colour)}22` } : {}),
          })),
        ],
        hooks: {
          setCursor: [
            (of) => {
              const at = of.cursor.idx;
              if (reading.current === null) return;
              reading.current.textContent =
                at === null || at === undefined ? "" : read.current(at);
            },
          ],
        },
      },
      [times, ...lines.map((line) => line.values)],
      holder,
    );
    plot.current = made;
    const watch = new ResizeObserver(() =>
      made.setSize({ width: holder.clientWidth, height }),
    );
    watch.observe(holder);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [theme, names, height]);

  useEffect(() => {
    plot.current?.setData([times, ...lines.map((line) => line.values)]);
  });

  const reading = useRef<HTMLSpanElement>(null);
  const read = useRef((_: number): string => "");
  read.current = (at) =>
    [
      hour(times[at] ?? 0),
      ...lines.map((line) => `${line.name} ${spoken(line.values[at], unit)}`),
    ].join("  ·  ");

  return (
    <figure class="plot">
      <figcaption>
        <span class="visually-hidden">{label}. </span>
        {lines.map((line) => (
          <span key={line.name} class="key">
            <span class={`swatch of${line.colour}`} aria-hidden="true" />
            {line.name}
            <b>{latest(line.values, unit)}</b>
          </span>
        ))}
        <span class="reading" ref={reading} aria-hidden="true" />
      </figcaption>
      <div class="drawn">
        <div ref={box} class="canvas" aria-hidden="true" />
        {lines.every((line) => line.values.every((one) => one === null)) && (
          <p class="undrawn">Nothing to measure yet.</p>
        )}
      </div>
      <Figures label={label} times={times} lines={lines} unit={unit} />
    </figure>
  );
}

/** What is drawn, as a table: made when it is asked for, the latest first. */
function Figures({
  label,
  times,
  lines,
  unit,
}: {
  label: string;
  times: number[];
  lines: Line[];
  unit: (value: number) => string;
}) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As a table</summary>
      {open && (
        <div class="scroll" tabIndex={0} role="region" aria-label={`${label}, a table`}>
          <table>
            <caption class="visually-hidden">{label}</caption>
            <thead>
              <tr>
                <th scope="col">Time</th>
                {lines.map((line) => (
                  <th key={line.name} scope="col">
                    {line.name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {times
                .map((at, n) => (
                  <tr key={at}>
                    <th scope="row">{hour(at)}</th>
                    {lines.map((line) => (
                      <td key={line.name}>{spoken(line.values[n], unit)}</td>
                    ))}
                  </tr>
                ))
                .reverse()}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

const spoken = (
  value: number | null | undefined,
  unit: (value: number) => string,
): string => (value === null || value === undefined ? "–" : unit(value));

function latest(values: (number | null)[], unit: (value: number) => string): string {
  return spoken(
    values.findLast((one) => one !== null),
    unit,
  );
}

function hour(seconds: number): string {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB", {
    hour: "2-digit",
    minute: "2-digit",
    ...(seconds % 60 ? { second: "2-digit" } : {}),
  });
}
