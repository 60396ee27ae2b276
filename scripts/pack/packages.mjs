// The npm packages that running needs, out of node_modules: some packages, and everything that they depend on.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * @param {string} root with node_modules in it
 * @param {readonly string[]} names
 * @returns {string[]} folders, relative to the root; what is optional and not installed is left out
 */
export function packageFolders(root, names) {
  /** @type {Set<string>} */
  const found = new Set();
  /** @param {string} name @param {string} from @param {boolean} optional */
  const visit = (name, from, optional) => {
    const folder = find(root, name, from);
    if (folder === undefined) {
      if (optional) return;
      throw new Error(`${name}, which ${from || 'this project'} needs, is not installed`);
    }
    if (found.has(folder)) return;
    found.add(folder);
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    );
    for (const dependency of Object.keys(dependencies)) {
      visit(dependency, folder, dependency in optionalDependencies);
    }
    for (const dependency of Object.keys(optionalDependencies)) visit(dependency, folder, true);
  };
  for (const name of names) visit(name, '', false);
  return [...found].sort();
}

/**
 * As Node looks for a package: beside the folder that asks, then further up.
 *
 * @param {string} root
 * @param {string} name
 * @param {string} from
 */
function find(root, name, from) {
  for (let at = from; ; at = dirname(at)) {
    const folder = join(at, 'node_modules', name);
    if (existsSync(join(root, folder, 'package.json'))) return folder;
    if (at === '' || at === '.') return undefined;
  }
}
