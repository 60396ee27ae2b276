// The C++ files of the repository.
import { readdirSync } from 'node:fs';
import { root } from './process.mjs';

/**
 * @param {readonly string[]} folders relative to the root; absent ones are empty
 * @param {RegExp} pattern of file names
 * @returns {string[]} paths relative to the root, sorted; none of an installed package, which may have sources, too
 */
export function filesIn(folders, pattern) {
  return folders
    .flatMap((folder) => {
      try {
        return readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' }).map(
          (f) => `${folder}/${f}`,
        );
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
        throw error;
      }
    })
    .filter((file) => pattern.test(file) && !file.includes('/node_modules/'))
    .sort();
}
