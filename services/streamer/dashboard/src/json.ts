// JSON without loss: a number for which JavaScript has no value of its own keeps the
// text that it was sent as, where the browser can do that (`JSON.rawJSON`).

const keep = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON;

/** Read JSON; raises `SyntaxError`. */
export function parse(text: string): unknown {
  if (keep === undefined) return JSON.parse(text);
  const revive = (_: string, found: unknown, of?: { source?: string }): unknown =>
    typeof found === "number" && of?.source !== undefined && !isExact(of.source)
      ? keep(of.source)
      : found;
  return JSON.parse(text, revive);
}

/** Spell a value out, indented. */
export const spelled = (value: unknown): string => JSON.stringify(value, null, 2);

/** Indent text that is JSON; other text, and what would be changed by it, is as it is. */
export function indented(text: string): string {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    const found = parse(text);
    return keep === undefined && !numbersOf(text).every(isExact)
      ? text
      : spelled(found);
  } catch {
    return text;
  }
}

const numbersOf = (text: string): string[] =>
  text.replace(/"(?:[^"\\]|\\.)*"/g, "").match(/\d[\d.eE+-]*/g) ?? [];

/** Whether a number is the same when JavaScript spells it. */
const isExact = (text: string): boolean =>
  digitsOf(text) === digitsOf(`${Number(text)}`);

/** Its digits, and where their point is: the same for 10, 10.0 and 1e1. */
function digitsOf(text: string): string {
  const [digits = "", power = "0"] = text.toLowerCase().replace(/^-/, "").split("e");
  const [whole = "", fraction = ""] = digits.split(".");
  const all = `${whole}${fraction}`.replace(/^0+/, "");
  const short = all.replace(/0+$/, "");
  if (short === "") return "0";
  return `${short}e${Number(power) - fraction.length + all.length - short.length}`;
}
