import { expect, it } from 'vitest';
import { parseArguments, UsageError, wholeNumbers } from '../../bench/common/arguments.mjs';

it('reads common options and those of the benchmark', () => {
  const { settings, own, help } = parseArguments(
    ['--shape', 'smollm2-135m', '--threads', '3', '--lengths', '50,8K', '--seed', '0', '--short'],
    { lengths: { type: 'string', help: '' } },
  );
  expect(settings).toMatchObject({ shape: 'smollm2-135m', threads: 3, seed: 0, short: true, device: 'auto' });
  expect(own).toEqual({ lengths: '50,8K' });
  expect(help).toBe(false);
});

it('reads lists of numbers, also in K', () => {
  expect(wholeNumbers('50,512, 1K,32k', 'lengths')).toEqual([50, 512, 1024, 32_768]);
});

it.each([
  [['--threads', '0']],
  [['--threads', '1.5']],
  [['--rounds', 'x']],
  [['--nothing']],
  [['--model', 'a', '--shape', 'b']],
])('refuses %j', (args) => {
  expect(() => parseArguments(args, {})).toThrow(UsageError);
});

it('refuses numbers below the least', () => {
  expect(() => wholeNumbers('50,49', 'lengths', 50)).toThrow(UsageError);
  expect(() => wholeNumbers('50,,', 'lengths')).toThrow(UsageError);
});
