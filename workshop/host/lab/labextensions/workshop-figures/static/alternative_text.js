// JupyterLab shows images without alternative text, even if an output's metadata contains one. This prebuilt
// extension adds it to PNG images. It needs no build step: JupyterLab only calls `init` and `get`.

let shared; // JupyterLab's modules, by name and version

async function load(name) {
  const [version] = Object.values(shared[name]);
  return (await version.get())();
}

function withAlternativeText(factory) {
  return {
    ...factory,
    createRenderer(options) {
      const widget = factory.createRenderer(options);
      const renderModel = widget.renderModel.bind(widget);
      widget.renderModel = async (model) => {
        await renderModel(model);
        const alt = model.metadata[options.mimeType]?.alt;
        if (alt) widget.node.querySelector("img").alt = alt;
      };
      return widget;
    },
  };
}

async function extension() {
  const { IRenderMimeRegistry } = await load("@jupyterlab/rendermime");
  const plugin = {
    id: "workshop-figures:plugin",
    autoStart: true,
    requires: [IRenderMimeRegistry],
    activate(app, registry) {
      registry.addFactory({ ...withAlternativeText(registry.getFactory("image/png")), mimeTypes: ["image/png"] }, 0);
    },
  };
  return () => ({ __esModule: true, default: plugin });
}

window._JUPYTERLAB ??= {}; // the first extension to arrive makes it
window._JUPYTERLAB["workshop-figures"] = {
  init(scope) { shared = scope; },
  get: extension,
};
