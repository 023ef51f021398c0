// Short notices, which go by themselves.

export interface Notice {
  number: number;
  text: string;
  bad: boolean;
}

let standing: Notice[] = [];
let number = 0;
const watchers = new Set<() => void>();

function change(next: Notice[]): void {
  standing = next;
  for (const tell of watchers) tell();
}

export const notices = {
  get all(): Notice[] {
    return standing;
  },

  watch(tell: () => void): () => void {
    watchers.add(tell);
    return () => {
      watchers.delete(tell);
    };
  },
};

export function say(text: string, { bad = false } = {}): void {
  const notice = { number: ++number, text, bad };
  change([...standing, notice].slice(-3));
  setTimeout(
    () => change(standing.filter((one) => one !== notice)),
    bad ? 10_000 : 5000,
  );
}
