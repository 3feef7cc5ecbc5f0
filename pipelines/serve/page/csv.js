/** Comma-separated values as in RFC 4180; semicolons and tabs are understood too. */

/** A table that cannot be read: says in which row. */
export class CsvError extends Error {}

/** Rows of cells of a CSV text. Empty lines are left out; all rows must be equally wide. */
export function readCsv(text) {
  const content = text.replace(/^\ufeff/, "");
  const rows = [...records(content, delimiterOf(content))];
  const crooked = rows.findIndex((row) => row.length !== rows[0].length);
  if (crooked > 0) {
    throw new CsvError(`row ${crooked + 1} has ${rows[crooked].length} cells, the first one ${rows[0].length}; `
      + "a cell that holds a comma must stand in quotation marks");
  }
  return rows;
}

/** The delimiter that stands most often in the first record, outside of quotation marks. */
function delimiterOf(content) {
  const first = content.replace(/"[^"]*"/g, "").split(/\r\n|\n|\r/, 1)[0];
  const often = (character) => first.split(character).length;
  return [",", ";", "\t"].reduce((best, one) => (often(one) > often(best) ? one : best));
}

function* records(content, delimiter) {
  const cell = new RegExp(`"([^"]*(?:""[^"]*)*)"|([^${delimiter}\\r\\n]*)`, "y");
  let row = [];
  let number = 1;
  while (cell.lastIndex < content.length) {
    const [, quoted, plain] = cell.exec(content);
    if (plain?.startsWith('"')) throw new CsvError(`row ${number}: a quotation mark is never closed`);
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    const end = cell.lastIndex;
    const next = content[end];
    if (next === delimiter) {
      cell.lastIndex = end + 1;
      if (end + 1 < content.length) continue;
      row.push("");
    } else if (next !== undefined && next !== "\n" && next !== "\r") {
      throw new CsvError(`row ${number}: there is something behind a closing quotation mark`);
    } else {
      cell.lastIndex = end + (content.startsWith("\r\n", end) ? 2 : 1);
    }
    if (row.length > 1 || row[0] !== "") {
      yield row;
      number += 1;
    }
    row = [];
  }
}

/** Rows of cells as a CSV text that spreadsheets open as it is: no cell is taken for a formula. */
export function writeCsv(rows) {
  const cell = (value) => {
    const safe = harmless(String(value));
    return /[",;\t\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return `\ufeff${rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

/** A leading apostrophe makes a formula a text; a number stays a number. */
function harmless(value) {
  const isFormula = /^\s*[=+\-@\t\r]/.test(value) && !/^[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?$/i.test(value);
  return isFormula ? `'${value}` : value;
}
