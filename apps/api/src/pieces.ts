/** Rows of one request cut into pieces, each small enough for one transaction. */
import type { Database } from '@jobmon/entities';

/** Rows of one transaction: long enough that its fixed statements do not count, short enough that SQLite's writer is free soon. */
const PIECE_ROWS_MAX = 1_000;
/** Bytes of the largest parameter of a piece. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;

/** Cuts by rows and by their bytes as JSON; every piece has at least one row. */
export function piecesOf<Row>(database: Database, rows: readonly Row[]): Row[][] {
  const bytes_max = Math.min(PIECE_BYTES_MAX, database.batch_bytes_max / 4);
  const pieces: Row[][] = [];
  let piece: Row[] = [];
  let bytes = 0;
  for (const row of rows) {
    const size = Buffer.byteLength(JSON.stringify(row));
    if (piece.length > 0 && (piece.length === PIECE_ROWS_MAX || bytes + size > bytes_max)) {
      pieces.push(piece);
      piece = [];
      bytes = 0;
    }
    piece.push(row);
    bytes += size;
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}
