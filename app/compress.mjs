// Compresses a site's files as the server sends them (FILE.br, FILE.gz), and holds what pages load to the budget:
//   node app/compress.mjs SITE
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

// WASM, scripts and style of a page's first load, compressed with brotli, in bytes.
const BUDGET = 350_000;

// What pages load. `HydrationScripts` writes the module's names into every page; its script imports planner.js.
const EVERY = ['plimsoll.css', 'planner.js', 'pkg/plimsoll.js', 'pkg/plimsoll_bg.wasm'];
const PAGES = { 'every page': EVERY, 'pages with plots': [...EVERY, 'plots.js'] };
// What the planner's page loads besides, when a reader turns to its controls.
const LATER = ['planner-worker.js', 'pkg/planner.js', 'pkg/planner_bg.wasm'];

const site = process.argv[2];
const sizes = {};
for (const name of readdirSync(site, { recursive: true })) {
  const path = join(site, name);
  if (!statSync(path).isFile() || !/\.(wasm|js|css|svg)$/.test(name)) continue;
  const bytes = readFileSync(path);
  const small = brotliCompressSync(bytes, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
    },
  });
  writeFileSync(`${path}.br`, small);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  sizes[name] = small.length;
}
const sum = (files) => files.reduce((total, file) => total + (sizes[file] ?? NaN), 0);
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
console.log(Object.entries(sizes).map(([name, size]) => `  ${name} ${kilobytes(size)}`).join('\n'));
console.log(`the planner's module, when it is needed: ${kilobytes(sum(LATER))} of brotli`);
for (const [page, files] of Object.entries(PAGES)) {
  const load = sum(files);
  console.log(`first load, ${page}: ${kilobytes(load)} of brotli, of ${kilobytes(BUDGET)}`);
  if (!(load <= BUDGET)) {
    console.error(`compress: the first load of ${page} is over its budget: see what grew with \`twiggy\` or wasm-objdump`);
    process.exitCode = 1;
  }
}
