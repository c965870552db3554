/**
 * The column kinds of the ERD as decorators (spec/data-model.md section 1). Each gives TypeORM an explicit type, so that no
 * type metadata of the compiler is needed, and each VARCHAR brings the length CHECK that SQLite lacks by itself; MariaDB
 * ignores CHECKs of entities and enforces the length in strict mode.
 */
import { Check, Column, PrimaryColumn, PrimaryGeneratedColumn } from 'typeorm';

/**
 * The table of an entity class, spelt as the ERD spells it: `TaskInstance` is `task_instance`. A class whose plain name is
 * taken (by JavaScript or by contracts) ends in `Row`: `ArrayRow` is `array`.
 */
export function tableNameOf(entity: { readonly name: string }): string {
  return entity.name
    .replace(/Row$/, '')
    .replace(/(?<!^)([A-Z])/g, '_$1')
    .toLowerCase();
}

interface Nullable {
  readonly nullable?: true;
}

/** `INT AUTO_INCREMENT`, the primary key of most tables. */
export const Id = (): PropertyDecorator => PrimaryGeneratedColumn({ type: 'int' });

/** `BIGINT AUTO_INCREMENT`, the primary key of tables of our own; INTEGER (64 bits too) on SQLite. */
export const BigId = (): PropertyDecorator => PrimaryGeneratedColumn({ type: 'bigint' });

/** `INT` as a part of a composite primary key. */
export const IntKey = (): PropertyDecorator => PrimaryColumn({ type: 'int' });

/** `INT`, signed, 32 bits. */
export const Int = ({ nullable = false }: { nullable?: boolean } = {}): PropertyDecorator => Column({ type: 'int', nullable });

/** `INT NOT NULL DEFAULT n`: a column of ours that other programs' inserts need not know. */
export const IntWithDefault = (value: number): PropertyDecorator => Column({ type: 'int', default: value });

/** `BIGINT`. */
export const BigInteger = ({ nullable }: Nullable = {}): PropertyDecorator =>
  Column({ type: 'bigint', nullable: nullable ?? false });

/** `BIGINT NOT NULL DEFAULT n`. */
export const BigIntegerWithDefault = (value: number): PropertyDecorator => Column({ type: 'bigint', default: value });

/** `SMALLINT`: small codes and flags (0, 1). */
export const SmallInt = ({ nullable }: Nullable = {}): PropertyDecorator =>
  Column({ type: 'smallint', nullable: nullable ?? false });

/** `DATETIME` of whole seconds, UTC, given to code as text `YYYY-MM-DD HH:MM:SS`. */
export const DateTime = ({ nullable }: Nullable = {}): PropertyDecorator =>
  Column({ type: 'datetime', nullable: nullable ?? false });

/** `TEXT`, at most 64 KiB less one byte in UTF-8. */
export const Text = ({ nullable }: Nullable = {}): PropertyDecorator => Column({ type: 'text', nullable: nullable ?? false });

/** `JSON`. Readers must accept text inside it, which old rows hold (spec/data-model.md section 6). */
export const Json = ({ nullable }: Nullable = {}): PropertyDecorator => Column({ type: 'json', nullable: nullable ?? false });

/** `VARCHAR(length)`, characters, with its CHECK `ck_<table>_<column>_length` on SQLite. */
export function Varchar(length: number, { nullable }: Nullable = {}): PropertyDecorator {
  return (target, property) => {
    Column({ type: 'varchar', length, nullable: nullable ?? false })(target, property);
    checkLength(target, String(property), length);
  };
}

/** `VARCHAR(length)` as the primary key or a part of it. */
export function VarcharKey(length: number): PropertyDecorator {
  return (target, property) => {
    PrimaryColumn({ type: 'varchar', length })(target, property);
    checkLength(target, String(property), length);
  };
}

function checkLength(target: object, column: string, length: number): void {
  Check(`ck_${tableNameOf(target.constructor)}_${column}_length`, `length("${column}") <= ${length}`)(target.constructor);
}
