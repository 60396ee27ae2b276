/** Runs chat templates, in the tokenizer worker: a template may loop for ever, and there it can be ended. */
import { Environment, Interpreter, Template } from '@huggingface/jinja';
import { BlockAttentionError } from '../../errors.js';
import type { TemplateRequest } from './messages.js';

/** The last one, parsed: requests of one model follow each other. */
let parsed: { source: string; template: Template } | undefined;

/** The text of each context. MODEL_FORMAT if the template cannot be parsed, INVALID_ARGUMENT if it refuses a context. */
export function renderTemplate({ file, source, date, contexts }: TemplateRequest): string[] {
  if (parsed?.source !== source) parsed = { source, template: parse(file, source) };
  const { template } = parsed;
  return contexts.map((context) => {
    try {
      const text = String(new Interpreter(globals(context, date)).run(template.parsed).value);
      if (text.length > MAX_LENGTH) throw new Error(`it prints more than ${MAX_LENGTH} characters`);
      return text;
    } catch (error) {
      throw new BlockAttentionError(
        'INVALID_ARGUMENT',
        `The chat template of ${file} refuses the messages: ${reason(error)}`,
        { cause: error },
      );
    }
  });
}

/** Of a text: what a template repeats again and again would hold the main thread up, which gets it. */
const MAX_LENGTH = 1 << 24;

/** As in Jinja's sandbox. */
const MAX_RANGE = 100_000;

/**
 * What `Template.render` would set, but without the clock: its date would change a text, and with it a block's key, every
 * day.
 */
function globals(context: TemplateRequest['contexts'][number], date: string): Environment {
  const environment = new Environment();
  const values = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    raise_exception: (message: unknown) => {
      throw new Error(String(message));
    },
    strftime_now: () => date,
    ...context,
  };
  for (const [name, value] of Object.entries(values)) environment.set(name, value);
  return environment;
}

function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = typeof second === 'number' ? [first, second] : [0, first];
  const size = Math.max(0, Math.ceil((stop - start) / step));
  if (!(size <= MAX_RANGE)) throw new Error(`range() of more than ${MAX_RANGE} numbers`);
  return Array.from({ length: size }, (_, i) => start + i * step);
}

function parse(file: string, source: string): Template {
  try {
    return new Template(source);
  } catch (error) {
    throw new BlockAttentionError(
      'MODEL_FORMAT',
      `${file}: the chat template is malformed: ${reason(error)}`,
      {
        cause: error,
      },
    );
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
