// The planner's module, which the planner's page loads when a reader turns to the controls (app/src/islands/planner/engine.rs).
let module, loading, tries = 0;

/** Loads it. A browser may remember that an address failed, so that each further try asks another. */
export function load() {
  loading ??= import(`/pkg/planner.js${tries++ ? `?${tries}` : ''}`)
    .then(async (loaded) => {
      await loaded.default({ module_or_path: '/pkg/planner_bg.wasm' });
      module = loaded;
    })
    .catch((error) => {
      loading = undefined;
      throw error;
    });
  return loading;
}

export const ask = (question) => module.ask(question);
export const files = (plan, files) => module.files(plan, files);
