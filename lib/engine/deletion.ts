/** What to remove from the cache. */
import type { BlockKey } from '../cache/key.js';
import { BlockAttentionError } from '../errors.js';
import { referenceBlocks } from '../model/reference-format.js';
import type { BlockInput } from '../model/types.js';
import type { ReferenceDocument } from '../model/reference-format.js';
import { checkArray, checkFields, checkString, type Fields, optional } from './checks.js';
import { checkInputs } from './inputs.js';
import { checkDocuments } from './prompt.js';

export type DeleteTarget =
  /** Blocks as `usage.blocks` names them. */
  | { keys: readonly BlockKey[] }
  /** Content, as blocks or in the reference layout (whose system text stays). */
  | { blocks: readonly BlockInput[]; namespace?: string | undefined }
  | { documents: readonly ReferenceDocument[]; namespace?: string | undefined }
  /** Everything of one namespace. */
  | { namespace: string };

export type Deletion =
  | { kind: 'keys'; keys: ReadonlySet<BlockKey> }
  | { kind: 'namespace'; namespace: string }
  | { kind: 'content'; blocks: readonly BlockInput[]; namespace: string };

export function checkDeletion(target: unknown): Deletion {
  const fields = checkFields(target, 'target', ['keys', 'blocks', 'documents', 'namespace']);
  const given = ['keys', 'blocks', 'documents'].filter((name) => fields[name] !== undefined);
  if (given.length > 1) {
    throw new BlockAttentionError('INVALID_ARGUMENT', `target has ${given.join(' and ')}: give one of them`);
  }
  const namespace = optional(fields.namespace, undefined, (value) => checkString(value, 'target.namespace'));
  if (fields.keys !== undefined) return { kind: 'keys', keys: checkKeys(fields.keys, namespace) };
  const blocks = contentOf(fields);
  if (blocks !== undefined) return { kind: 'content', blocks, namespace: namespace ?? '' };
  if (namespace !== undefined) return { kind: 'namespace', namespace };
  throw new BlockAttentionError(
    'INVALID_ARGUMENT',
    'target must have keys, blocks, documents or a namespace',
  );
}

function contentOf(fields: Fields): readonly BlockInput[] | undefined {
  if (fields.blocks !== undefined) return checkInputs(fields.blocks, 'target.blocks');
  if (fields.documents === undefined) return undefined;
  const [, ...documents] = referenceBlocks({ documents: checkDocuments(fields.documents), query: '' }).blocks;
  return documents;
}

function checkKeys(value: unknown, namespace: string | undefined): ReadonlySet<BlockKey> {
  if (namespace !== undefined) {
    throw new BlockAttentionError(
      'INVALID_ARGUMENT',
      'target.namespace has no place beside keys: a key holds its own',
    );
  }
  return new Set(
    checkArray(value, 'target.keys').map((key, index) => checkString(key, `target.keys[${index}]`)),
  );
}
