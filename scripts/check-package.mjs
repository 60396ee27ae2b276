// What `npm pack` would publish: everything that an installed package needs, nothing that belongs to development.
import { outputOf, runMain, SetupError } from './setup/process.mjs';

const required = [
  'package.json',
  'README.md',
  'LICENSE',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/native.js',
  'dist/cli/main.js',
  'CMakeLists.txt',
  /^cmake\/.*\.cmake$/,
  'binding.gyp',
  /^native\/addon\/.*\.cpp$/,
  /^models\/.*\.safetensors$/,
];
const forbidden = [/^(test|bench|scripts|build|node_modules)\//, /\.tsbuildinfo$/, /\.(log|tgz)$/];
const kMaxUnpackedBytes = 64 * 1024 * 1024;

await runMain(async () => {
  const output = outputOf('npm', ['pack', '--dry-run', '--json', '--ignore-scripts']);
  if (output === undefined) throw new SetupError('npm pack --dry-run failed.');
  /** @type {{ files: { path: string }[], unpackedSize: number }[]} */
  const [pack] = Object.values(JSON.parse(output));
  if (!pack) throw new SetupError('npm pack --dry-run listed no package.');
  const paths = pack.files.map(({ path }) => path);

  /** @type {(pattern: string | RegExp) => (path: string) => boolean} */
  const matches = (pattern) => (path) =>
    typeof pattern === 'string' ? path === pattern : pattern.test(path);
  const problems = [
    ...required.filter((pattern) => !paths.some(matches(pattern))).map((pattern) => `missing: ${pattern}`),
    ...paths
      .filter((path) => forbidden.some((pattern) => pattern.test(path)))
      .map((path) => `not for users: ${path}`),
  ];
  if (pack.unpackedSize > kMaxUnpackedBytes) problems.push(`too large: ${pack.unpackedSize} bytes unpacked`);
  process.stdout.write(`${paths.length} files, ${(pack.unpackedSize / 1e6).toFixed(1)} MB unpacked\n`);
  if (problems.length > 0) throw new SetupError(`npm pack: ${problems.join('; ')}`);
  return 0;
});
