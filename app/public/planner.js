// The planner's module, which the planner's page loads when a reader turns to the controls (app/src/islands/planner/engine.rs).
let module, loading, tries = 0;
// What takes tens of estimates is asked of the module in a worker, so that the page's own thread stays with its reader; where
// a browser has no such worker, or that fails, of the module on the page's thread.
let worker;
const waiting = [];

/** Loads it. */
export function load() {
  loading ??= begin().catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** A browser may remember that a script's address failed, so that each further try asks another. */
async function begin() {
  const hired = hire();
  const [loaded, code] = await Promise.all([
    import(`/pkg/planner.js${tries++ ? `?${tries}` : ''}`),
    compiled('/pkg/planner_bg.wasm'),
  ]);
  await loaded.default({ module_or_path: code });
  module = loaded;
  await hired(PATIENCE);
  worker?.postMessage(code);
}

async function compiled(path) {
  const sent = await fetch(path);
  const streams = sent.headers.get('content-type') === 'application/wasm';
  return streams ? WebAssembly.compileStreaming(sent) : WebAssembly.compile(await sent.arrayBuffer());
}

/** How long the worker is waited for once the module is there, in milliseconds. */
const PATIENCE = 3000;

/** Starts the worker. What it returns waits until that is there, or will not be; a late one is let go. */
function hire() {
  let late;
  const there = new Promise((done) => {
    worker?.terminate();
    let mine;
    const dismiss = () => {
      done();
      // Not the one that was hired since.
      if (worker !== mine) return;
      worker?.terminate();
      worker = undefined;
      for (const { question, answered } of waiting.splice(0)) answered(here(question));
    };
    try {
      worker = mine = new Worker('/planner-worker.js', { type: 'module' });
    } catch {
      worker = undefined;
      return dismiss();
    }
    late = dismiss;
    mine.onerror = dismiss;
    mine.onmessage = ({ data }) => {
      if (data === null || worker !== mine) return dismiss();
      if (data !== true) return waiting.shift().answered(data);
      late = undefined;
      done();
    };
  });
  return (patience) => {
    setTimeout(() => late?.(), patience);
    return there;
  };
}

/** The answer of the page's own thread, which first does what else waits. */
const here = (question) =>
  new Promise((answered, failed) => {
    setTimeout(() => {
      try {
        answered(module.ask(question));
      } catch (error) {
        failed(error);
      }
    });
  });

/** The answer to a question, at once. */
export const ask = (question) => module.ask(question);

/** The answer to a question that takes long. */
export function work(question) {
  if (!worker) return here(question);
  return new Promise((answered) => {
    waiting.push({ question, answered });
    worker.postMessage(question);
  });
}

export const files = (plan, files) => module.files(plan, files);
