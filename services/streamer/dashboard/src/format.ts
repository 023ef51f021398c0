// Numbers, times and sizes as people read them.

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", {
  notation: "compact",
  maximumFractionDigits: 1,
});
const moments = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "medium",
});
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

export const count = (value: number): string =>
  Math.abs(value) >= 100_000 ? short.format(value) : numbers.format(value);

/** A ratio in hundredths; what is not quite all is never said to be all. */
export function percent(ratio: number | null): string {
  if (ratio === null) return "–";
  const rounded = Math.round(ratio * 1000) / 10;
  return `${rounded === 100 && ratio < 1 ? "> 99.9" : numbers.format(rounded)} %`;
}

export const moment = (iso: string): string => moments.format(new Date(iso));

/** A moment as the clocks of a zone show it; of who looks, where it is not known. */
export function momentIn(iso: string, zone: string): string {
  try {
    return new Intl.DateTimeFormat("en-GB", {
      weekday: "short",
      day: "numeric",
      month: "short",
      hour: "2-digit",
      minute: "2-digit",
      timeZone: zone,
    }).format(new Date(iso));
  } catch {
    return moment(iso);
  }
}

export const timeOfDay = (iso: string): string => clock.format(new Date(iso));

export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return "< 1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${numbers.format(seconds)} s`;
  const minutes = seconds / 60;
  if (minutes < 60) return `${Math.floor(minutes)} min ${Math.round(seconds % 60)} s`;
  const hours = minutes / 60;
  if (hours < 48) return `${Math.floor(hours)} h ${Math.round(minutes % 60)} min`;
  return `${numbers.format(hours / 24)} days`;
}

/** Say how long ago, or how soon: "12 s ago", "in 3 min". */
export function ago(iso: string, now = Date.now()): string {
  const ms = now - new Date(iso).getTime();
  const seconds = Math.abs(ms) / 1000;
  const text =
    seconds < 60
      ? `${Math.floor(seconds)} s`
      : seconds < 3600
        ? `${Math.floor(seconds / 60)} min`
        : seconds < 172_800
          ? `${Math.floor(seconds / 3600)} h`
          : `${Math.floor(seconds / 86_400)} days`;
  if (seconds < 1) return "now";
  return ms < 0 ? `in ${text}` : `${text} ago`;
}

export const brief = (id: string): string => id.slice(-12);

export function bytes(size: number): string {
  if (size < 1024) return `${size} B`;
  if (size < 1024 ** 2) return `${numbers.format(size / 1024)} KiB`;
  return `${numbers.format(size / 1024 ** 2)} MiB`;
}
