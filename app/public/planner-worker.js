// The planner's module in a worker: takes the module once, then questions, and answers each in its turn; null where it cannot
// (planner.js).
import init, { ask } from '/pkg/planner.js';

let ready;
onmessage = async ({ data }) => {
  try {
    if (data instanceof WebAssembly.Module) ready = init({ module_or_path: data });
    await ready;
    if (typeof data === 'string') postMessage(ask(data));
  } catch {
    postMessage(null);
  }
};
postMessage(true);
