// Perfetto's trace processor, the importer and SQL engine behind ui.perfetto.dev, under node.
//   node perfetto.js FOLDER TRACE QUERY...    FOLDER holds engine_bundle.js and trace_processor*.wasm
// prints one JSON line for each query: {columns, rows} or {error}. Messages are those of protos/perfetto/trace_processor/
// trace_processor.proto (TraceProcessorRpc, QueryResult), written and read here by field number.
"use strict";
const fs = require("fs"), path = require("path"), vm = require("vm");
const [folder, trace, ...queries] = process.argv.slice(2);

function varint(n) {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  return [...out, n];
}
const bytes = (field, data) => Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(data.length)]), data]);
const number = (field, n) => Buffer.from([...varint(field * 8), ...varint(n)]);
const request = (kind, args) => bytes(1, Buffer.concat([number(2, kind), args]));

function take(data, at) {
  let value = 0n, shift = 0n, byte;
  do { byte = data[at++]; value |= BigInt(byte & 127) << shift; shift += 7n; } while (byte & 128);
  return [BigInt.asIntN(64, value), at];
}
function fields(data) {
  const out = [];
  for (let at = 0; at < data.length; ) {
    let key, value;
    [key, at] = take(data, at);
    const kind = Number(key & 7n);
    if (kind === 0) [value, at] = take(data, at);
    else if (kind === 1) { value = data.subarray(at, at + 8); at += 8; }
    else if (kind === 5) { value = data.subarray(at, at + 4); at += 4; }
    else { let n; [n, at] = take(data, at); value = data.subarray(at, at + Number(n)); at += Number(n); }
    out.push([Number(key >> 3n), value]);
  }
  return out;
}
function packed(data) {
  const out = [];
  for (let at = 0, value; at < data.length; ) { [value, at] = take(data, at); out.push(Number(value)); }
  return out;
}
function cells(batch) {
  const kinds = [], ints = [], floats = [], texts = [];
  for (const [field, value] of fields(batch)) {
    if (field === 1) kinds.push(...packed(value));
    if (field === 2) ints.push(...packed(value));
    if (field === 3) for (let at = 0; at < value.length; at += 8) floats.push(Buffer.from(value).readDoubleLE(at));
    if (field === 5) texts.push(...Buffer.from(value).toString().split("\0").slice(0, -1));
  }
  return kinds.map((kind) => [undefined, () => null, () => ints.shift(), () => floats.shift(), () => texts.shift()][kind]());
}

let replies = [];
const port = { postMessage: (data) => replies.push(Buffer.from(data)) };
const self = {};
const wasm = (name) => fs.readFileSync(path.join(folder, path.basename(name)));
const world = {
  self, console: { log() {}, warn() {}, error() {} }, TextDecoder, TextEncoder, URL, setTimeout, performance, Buffer: undefined,
  importScripts() {}, location: { href: "http://x/" }, crypto: globalThis.crypto, Response,
  XMLHttpRequest: class { open(_, name) { this.response = wasm(name); } send() {} },
};
world.globalThis = world;
world.WorkerGlobalScope = function () {};
self.location = world.location;
vm.runInContext(fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf8"), vm.createContext(world));

function send(kind, args) {
  replies = [];
  port.onmessage({ data: vm.runInContext("(b) => new Uint8Array(b)", world)(request(kind, args)) });
  return replies.flatMap((reply) => fields(reply)).map(([, message]) => fields(message));
}
function answer(sql) {
  const result = { columns: [], cells: [] };
  for (const message of send(3, bytes(103, bytes(1, Buffer.from(sql)))))
    for (const [field, value] of message) {
      if (field === 5) result.error = Buffer.from(value).toString();
      if (field !== 203) continue;
      for (const [part, data] of fields(value)) {
        if (part === 1) result.columns.push(Buffer.from(data).toString());
        if (part === 2) result.error = Buffer.from(data).toString();
        if (part === 3) result.cells.push(...cells(data));
      }
    }
  if (result.error) return { error: result.error };
  const wide = result.columns.length, rows = [];
  for (let at = 0; at < result.cells.length; at += wide) rows.push(result.cells.slice(at, at + wide));
  return { columns: result.columns, rows };
}

self.onmessage({ data: port });
(async () => {
  for (let k = 0; k < 600 && !port.ready; k++) {
    await new Promise((wake) => setTimeout(wake, 50));
    try { send(3, bytes(103, bytes(1, Buffer.from("select 1")))); port.ready = replies.length > 0; } catch { /* not loaded yet */ }
  }
  const data = fs.readFileSync(trace);
  for (let at = 0; at < data.length; at += 1 << 24) send(1, bytes(101, data.subarray(at, at + (1 << 24))));
  send(2, Buffer.alloc(0));
  for (const sql of queries) process.stdout.write(JSON.stringify(answer(sql)) + "\n");
  process.exit(0);
})();
