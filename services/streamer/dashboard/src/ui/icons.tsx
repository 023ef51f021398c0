// Line icons of our own, 20 × 20, drawn in the colour of their text.

const PATHS = {
  overview: "M3 16V9m4.7 7V4m4.6 12v-5M17 16V7",
  jobs: "M4 5h12M4 10h12M4 15h7",
  queues: "M3 6h14v3H3zM3 11h14v3H3z",
  dead: "M10 3 2.5 16.5h15zM10 8v4m0 2.2v.1",
  endpoints: "M3 10h10m-4-4 4 4-4 4M16.5 4v12",
  workflows: "M5 5h3v3H5zM12 5h3v3h-3zM8.5 13h3v3h-3zM6.5 8v2.5h7V8M10 10.5V13",
  schedules: "M10 3a7 7 0 1 0 0 14 7 7 0 0 0 0-14zm0 3.5V10l2.5 1.8",
  workers:
    "M7 8.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5zM2.5 16c0-3 2-4.5 4.5-4.5s4.5 1.5 4.5 4.5M13.5 9a2 2 0 1 0 0-4M14 12c2 .2 3.5 1.5 3.5 4",
  events: "M2.5 10h3l2-5 4 10 2-5h4",
  settings: "M7.5 12.5a3.5 3.5 0 1 1 2.9-1.6L17 17.5M13.5 14l1.5-1.5",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13 13l4 4",
  light:
    "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.4 4.4l1 1M14.6 14.6l1 1M15.6 4.4l-1 1M5.4 14.6l-1 1",
  dark: "M15.5 12A6.5 6.5 0 0 1 8 4.5a6.5 6.5 0 1 0 7.5 7.5z",
  system: "M3 4h14v9H3zM7.5 16.5h5",
  out: "M8 4H4v12h4M8.5 10H17m-3-3 3 3-3 3",
  menu: "M3 6h14M3 10h14M3 14h14",
  more: "m8 5 5 5-5 5",
  close: "m5 5 10 10M15 5 5 15",
  copy: "M7 7h9v9H7zM4 13V4h9",
  check: "m4 10.5 4 4 8-9",
  pause: "M7 5v10M13 5v10",
  play: "M6.5 4.5v11l9-5.5z",
  help: "M7.8 7.8a2.3 2.3 0 1 1 3.2 2.1c-.7.3-1 .8-1 1.6M10 14.2v.1M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }) {
  return (
    <svg
      class="icon"
      viewBox="0 0 20 20"
      width={size}
      height={size}
      aria-hidden="true"
      focusable="false"
    >
      <path
        d={PATHS[name]}
        fill="none"
        stroke="currentColor"
        stroke-width="1.6"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}

export function Bell({ size = 28 }: { size?: number }) {
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden="true" class="bell">
      <rect width="32" height="32" rx="8" />
      <path d="M7 21.5h18v2H7zM8.5 20a7.5 7.5 0 0 1 15 0zM16 9.2a1.7 1.7 0 0 1 1.7 1.7v1.2h-3.4v-1.2A1.7 1.7 0 0 1 16 9.2z" />
    </svg>
  );
}
