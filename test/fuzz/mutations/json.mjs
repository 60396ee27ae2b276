// Changes of a JSON document that keep it a document (mostly): values, names, order, depth.

/** Stands for text that JSON.stringify cannot make; see `toText`. */
class Raw {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
  /** @param {string} _key */
  toJSON(_key) {
    return `${Raw.mark}${this.text}${Raw.mark}`;
  }
  static mark = '\u0001raw\u0001';
}

const NUMBERS = [
  ...[0, -0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 1023, 1024, 1025, 4096, 65_535, 65_536],
  ...[
    2 ** 17,
    2 ** 20,
    2 ** 24,
    2 ** 24 + 1,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    2 ** 53 - 1,
    2 ** 53,
  ],
  ...[2 ** 63, 2 ** 64, -(2 ** 31), -(2 ** 63), 0.5, 1.5, 1e-3, 1e-30, 5e-324, 1e18, 1e30, 1e308, -1e308],
];
const STRINGS = [
  ...['', ' ', '0', '8', 'true', 'null', '\u0000', '\ud800', '\udfff\ud800', '\u2581', '\uffff', 'e\u0301'],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'length',
    '../x',
    '/etc/passwd',
    'F32',
    'BF16',
    'F8_E4M3',
    'I64',
  ],
  ...[
    'LlamaForCausalLM',
    'Qwen3ForCausalLM',
    'llama',
    'yarn',
    'linear',
    'llama3',
    'dynamic',
    'default',
    'BPE',
  ],
  ...['sliding_attention', 'silu', 'gelu', 'bfloat16', 'Sequence', 'Metaspace', 'ByteLevel', 'Split', 'NFKC'],
  ...[
    '(a+)+$',
    '[',
    '(?<x>',
    '\\p{L}',
    '(?i:x)',
    '{{ x',
    '{% for i in range(9999) %}x{% endfor %}',
    'a'.repeat(3000),
  ],
];
const LITERALS = [
  ...[
    '1e999',
    '-1e999',
    '1e-999',
    'NaN',
    'Infinity',
    '-Infinity',
    '01',
    '1.',
    '.5',
    '+1',
    '0x10',
    "'a'",
    'True',
  ],
  ...[
    '9'.repeat(400),
    `0.${'0'.repeat(400)}1`,
    '',
    ',',
    '}',
    ']',
    '"',
    '"\\u12"',
    '"\\x41"',
    '/* */ 1',
    '1 // a',
  ],
];
/** Made anew each time, since they may be changed later. @type {readonly (() => unknown)[]} */
const CONTAINERS = [
  () => [],
  () => ({}),
  () => [[]],
  () => [{}],
  () => [null],
  () => ({ toString: 1, valueOf: 1 }),
  () => ({ length: 5 }),
  () => [1, [2, [3]]],
];
/** Levels: the last are more than a stack takes, and slow to parse. */
const NESTED = [2, 5, 20, 50, 200, 500, 9000, 60_000];

/** @param {import('./random.mjs').Choices} choices @returns {unknown} a value that some reader may not expect */
export function strangeValue(choices) {
  switch (choices.below(12)) {
    case 0:
      return choices.of([null, true, false]);
    case 1:
      return choices.of(CONTAINERS)();
    case 2:
    case 3:
      return choices.of(STRINGS);
    case 4:
      return new Raw(choices.of(LITERALS));
    case 5: {
      const depth = choices.of(NESTED);
      const [open, close] = choices.of([
        ['[', ']'],
        ['{"a":', '}'],
      ]);
      return new Raw(`${open.repeat(depth)}1${close.repeat(depth)}`);
    }
    case 6:
      return Array.from({ length: choices.of([2, 3, 64, 5000]) }, () => choices.of(NUMBERS));
    default:
      return choices.of(NUMBERS);
  }
}

/** @param {unknown} value @returns {value is Record<string, unknown> | unknown[]} */
const isContainer = (value) => typeof value === 'object' && value !== null && !(value instanceof Raw);

/**
 * A random container of the document, and where it is.
 *
 * @param {Record<string, unknown> | unknown[]} document
 * @param {import('./random.mjs').Choices} choices
 */
function somewhere(document, choices) {
  let at = document;
  let path = '';
  for (;;) {
    const inner = Object.entries(at).filter(([, value]) => isContainer(value));
    if (inner.length === 0 || choices.chance(0.35)) return { at, path };
    const [key, value] = choices.of(inner);
    at = /** @type {Record<string, unknown> | unknown[]} */ (value);
    path += `.${key}`;
  }
}

/**
 * Changes one place of the document.
 *
 * @param {Record<string, unknown> | unknown[]} document
 * @param {import('./random.mjs').Choices} choices
 * @returns {string} what was done
 */
export function mutateJson(document, choices) {
  const { at, path } = somewhere(document, choices);
  /** @type {Record<string, unknown>} */
  const object = /** @type {any} */ (at);
  const keys = Object.keys(at);
  if (keys.length === 0) {
    object[Array.isArray(at) ? '0' : 'a'] = strangeValue(choices);
    return `fill ${path}`;
  }
  const key = choices.of(keys);
  const value = object[key];
  const what = `${path}.${key}`.slice(0, 80);
  switch (choices.below(10)) {
    case 0:
      if (Array.isArray(at)) at.splice(Number(key), 1);
      else delete object[key];
      return `delete ${what}`;
    case 1: {
      const other = choices.of(keys);
      [object[key], object[other]] = [object[other], object[key]];
      return `swap ${what} with ${other.slice(0, 40)}`;
    }
    case 2:
      object[key] = choices.of([
        () => [value],
        () => ({ a: value }),
        () => (isContainer(value) ? 'x' : String(value).slice(0, 1e4)),
      ])();
      return `wrap ${what}`;
    case 3: {
      const name = Array.isArray(at) ? String(at.length) : choices.of([...STRINGS, `${key}x`]);
      // An assignment to __proto__ would not make a field.
      Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
      return `copy ${what} to ${name.slice(0, 40)}`;
    }
    case 4:
    case 5:
      if (typeof value === 'number') {
        object[key] = choices.of([
          value + 1,
          value - 1,
          value * 2,
          -value,
          value / 2,
          value + 8,
          value * 2 ** 32,
        ]);
        return `${what}: ${value} to ${object[key]}`;
      }
      if (typeof value === 'string') {
        const cut = choices.below(value.length + 1);
        object[key] = value.slice(0, cut) + choices.of(STRINGS) + value.slice(cut + choices.below(3));
        return `edit text ${what}`;
      }
      break;
    default:
  }
  object[key] = strangeValue(choices);
  return `replace ${what}`;
}

/** @param {unknown} document @returns {string | undefined} undefined if it has more levels than there is stack for */
export function toText(document) {
  const mark = JSON.stringify(Raw.mark).slice(1, -1).replaceAll('\\', '\\\\');
  try {
    // What stands between the marks was escaped as a string, and is to be itself.
    return JSON.stringify(document).replace(new RegExp(`"${mark}(.*?)${mark}"`, 'gs'), (_, escaped) =>
      JSON.parse(`"${escaped}"`),
    );
  } catch {
    return undefined;
  }
}
