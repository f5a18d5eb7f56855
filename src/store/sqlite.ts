/**
 * SQLite in WAL mode as the store's durable memory (docs/decisions: one writer, one transaction
 * per group of writes). With `synchronous = NORMAL` a commit is in the operating system's hands:
 * `kill -9` loses nothing; a power cut may lose the last commits but never tears one. `full`
 * adds an fsync to every commit.
 */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

import { failure } from '../api/status.ts';
import { UserError, messageOf } from '../lib/errors.ts';
import { type Backend, type LoadedRow, type Row, Store } from './store.ts';

export type SqliteOptions = { readonly path: string; readonly durability?: 'normal' | 'full' };

/** Raised whenever the tables change; an older program must refuse a newer file. */
const SCHEMA_VERSION = 1;
/** `FAIR` in ASCII: marks the file as ours. */
const APPLICATION_ID = 0x46414952;

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** Opens or creates the database; refuses a file it does not understand and leaves it untouched. */
export function openSqliteStore(options: SqliteOptions): Store {
  const database = openDatabase(options);
  try {
    return new Store(new SqliteBackend(database));
  } catch (error) {
    database.close();
    throw unreadable(options.path, error);
  }
}

class SqliteBackend implements Backend {
  readonly #database: DatabaseSync;
  readonly #put;
  readonly #remove;
  readonly #setRevision;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#put = database.prepare(
      'INSERT OR REPLACE INTO objects (resource, namespace, name, revision, json) VALUES (?, ?, ?, ?, ?)',
    );
    this.#remove = database.prepare(
      'DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?',
    );
    this.#setRevision = database.prepare('UPDATE state SET revision = ?');
  }

  load(): { revision: number; rows: Iterable<LoadedRow> } {
    const state = this.#database.prepare('SELECT revision FROM state').get();
    if (state === undefined) throw new Error('table "state" is empty');
    const rows = this.#database
      .prepare('SELECT resource, namespace, name, revision, json AS bytes FROM objects')
      .all() as unknown as LoadedRow[];
    return { revision: Number(state.revision), rows };
  }

  commit(rows: readonly Row[], revision: number): void {
    try {
      this.#database.exec('BEGIN IMMEDIATE');
      for (const { resource, namespace, name, revision: version, bytes } of rows) {
        if (bytes === undefined) this.#remove.run(resource, namespace, name);
        else this.#put.run(resource, namespace, name, version, bytes);
      }
      this.#setRevision.run(revision);
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw refusal(error);
    }
  }

  close(): void {
    this.#database.close();
  }
}

function openDatabase({ path, durability }: SqliteOptions): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    refuseForeignFile(path);
    database = new DatabaseSync(path);
    // Exclusive: one server per file, and the WAL index stays in memory instead of a -shm file.
    database.exec('PRAGMA locking_mode = EXCLUSIVE');
    const isNew = checkVersion(database, path) === 'empty';
    const synchronous = durability === 'full' ? 'FULL' : 'NORMAL';
    database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}`);
    // What is complete is not written to: a server must start on a full disk.
    if (isNew) createTables(database);
    return database;
  } catch (error) {
    database?.close();
    throw unreadable(path, error);
  }
}

/** SQLite would take any short file for an empty database and write over it. */
function refuseForeignFile(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const header = Buffer.alloc(16);
  const file = openSync(path, 'r');
  try {
    readSync(file, header, 0, 16, 0);
  } finally {
    closeSync(file);
  }
  if (header.toString('latin1') !== 'SQLite format 3\0') {
    throw corrupt(path, 'it does not start as an SQLite file does');
  }
}

/** Throws on a database of another program or version, or a damaged one. */
function checkVersion(database: DatabaseSync, path: string): 'empty' | 'ours' {
  const version = pragma(database, 'user_version');
  const application = pragma(database, 'application_id');
  const tables = Number(
    database.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.count,
  );
  if (tables === 0 && version === 0) return 'empty';
  if (application !== APPLICATION_ID) {
    throw corrupt(path, `it is the SQLite file of another program (application id ${application})`);
  }
  if (version !== SCHEMA_VERSION) {
    throw new UserError(
      'DATABASE_VERSION',
      `Cannot open database "${path}": it has schema version ${version}, this program knows ${SCHEMA_VERSION}`,
      { hint: 'Use the version of fairlead that wrote it, or move the file away to start afresh' },
    );
  }
  const check = database.prepare('PRAGMA quick_check(1)').get()?.quick_check;
  if (check !== 'ok') throw corrupt(path, String(check));
  return 'ours';
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function createTables(database: DatabaseSync): void {
  database.exec(`
    BEGIN IMMEDIATE;
    PRAGMA application_id = ${APPLICATION_ID};
    PRAGMA user_version = ${SCHEMA_VERSION};
    CREATE TABLE IF NOT EXISTS objects (
      resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
      revision INTEGER NOT NULL, json BLOB NOT NULL,
      PRIMARY KEY (resource, namespace, name)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (revision INTEGER NOT NULL);
    INSERT INTO state SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM state);
    COMMIT;`);
}

/** The primary code: the low byte of SQLite's extended result code. */
function resultCode(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return undefined;
  return Number(error.errcode) & 0xff;
}

/** A commit that failed as the API says it: 507 for a full disk, 500 for the rest. */
function refusal(error: unknown): Error {
  const full = resultCode(error) === SQLITE_FULL;
  const what = full ? 'the disk is full' : messageOf(error);
  const code = full ? 507 : 500;
  return failure(code, 'InternalError', `Cannot store the object: ${what}; nothing was written`);
}

function unreadable(path: string, error: unknown): Error {
  if (error instanceof UserError) return error;
  const code = resultCode(error);
  if (code === SQLITE_BUSY) {
    return new UserError(
      'DATABASE_IN_USE',
      `Cannot open database "${path}": another process uses it`,
      {
        hint: 'A server of this lab seems to run already; stop it first',
        cause: error,
      },
    );
  }
  if (code === SQLITE_FULL) {
    return new UserError('DATABASE_FULL', `Cannot open database "${path}": the disk is full`, {
      hint: 'Make room on the disk; nothing in the file is lost',
      cause: error,
    });
  }
  const isWorld = code !== undefined || (error instanceof Error && 'syscall' in error);
  if (isWorld && code !== SQLITE_CORRUPT && code !== SQLITE_NOTADB) {
    const text = `Cannot open database "${path}": ${messageOf(error)}`;
    return new UserError('DATABASE_UNREADABLE', text, {
      hint: 'Its folder must exist and be writable, and the file readable',
      cause: error,
    });
  }
  return corrupt(path, messageOf(error), error);
}

function corrupt(path: string, what: string, cause?: unknown): UserError {
  return new UserError('DATABASE_CORRUPT', `Cannot open database "${path}": ${what}`, {
    hint: 'The file was left as it is; move it away to start with an empty cluster',
    cause,
  });
}
