"""`kdsweep demo`: a page on 127.0.0.1 that classifies an image with a student and its teacher."""

import os
from collections.abc import Mapping
from typing import Any

from kdsweep.deploy.classifier import Classifier
from kdsweep.deploy.comparison import NetworkOutput, comparison, outputs_of
from kdsweep.deploy.images import ImageError

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # set before the import: gradio would report usage
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

HOST = "127.0.0.1"
MAX_TEMPERATURE = 20.0
MAX_FILE_SIZE = "50mb"
KEPT_SECONDS = 3600  # for which an uploaded image is kept on disk
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Arial", "sans-serif"]

CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
.kd { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0; }
.kd, .kd thead, .kd tr, .kd th, .kd td { border: none !important; }
.kd th { text-align: left; font-weight: 400; padding: 0 .8rem .8rem !important; }
.kd td { padding: .22rem .8rem !important; }
.kd th:not(:first-child), .kd td:not(:first-child) { width: 38%; }
.kd .kd-class { text-align: right; font-weight: 600; overflow-wrap: break-word; min-width: 7rem; }
.kd-role { font-weight: 600; }
.kd .teacher { --network: #b34700; } .kd .student { --network: #0072b2; }
.kd-role { color: var(--network); }
.kd-name, .kd-small, .kd-note, .kd-empty { opacity: .72; }
.kd-small, .kd-note { font-size: .86rem; }
.kd-note { margin: .8rem .8rem 0; }
.kd-label { font-size: 1.6rem; font-weight: 600; line-height: 1.3; overflow-wrap: anywhere; }
.kd-value { display: flex; align-items: center; gap: .6rem; }
.kd-value span { width: 5.2rem; text-align: right; white-space: nowrap; }
.kd-track { flex: 1; height: .8rem; border-radius: 2px; background: #8882; }
.kd-bar { height: 100%; border-radius: 2px; background: var(--network); }
"""


def page(models: Mapping[str, Classifier], title: str) -> gr.Blocks:
    """The page, not yet served. ``models``: `teacher`, if there is one, and `student`."""
    classes = models["student"].classes

    def classify(path: str | None, temperature: float) -> tuple[list[NetworkOutput], str]:
        if path is None:
            return [], comparison([], classes, temperature)
        try:
            network_outputs = outputs_of(models, path)
        except ImageError as error:
            raise gr.Error(
                f"The image cannot be read: {error.reason}", print_exception=False
            ) from error
        return network_outputs, comparison(network_outputs, classes, temperature)

    def redraw(network_outputs: list[NetworkOutput], temperature: float) -> str:
        return comparison(network_outputs, classes, temperature)

    with gr.Blocks(
        title=title, analytics_enabled=False, delete_cache=(KEPT_SECONDS,) * 2
    ) as blocks:
        outputs = gr.State([])
        gr.Markdown(f"# {title}\n{_about(models['student'])}")
        with gr.Row():
            with gr.Column(scale=2, min_width=280):
                image = gr.Image(
                    type="filepath", label="image", sources=["upload", "clipboard"], height=320
                )
                temperature = gr.Slider(
                    1,
                    MAX_TEMPERATURE,
                    value=1,
                    step=0.5,
                    label="temperature T",
                    info="a higher T shows how the teacher ranks the other classes",
                )
            with gr.Column(scale=3, min_width=420):
                table = gr.HTML(comparison([], classes, 1))
        image.change(classify, [image, temperature], [outputs, table], api_visibility="private")
        temperature.change(
            redraw, [outputs, temperature], table, api_visibility="private", show_progress="hidden"
        )
    built: gr.Blocks = blocks
    return built


def serve(
    models: Mapping[str, Classifier], title: str, port: int | None, *, wait: bool = True
) -> str:
    """Serve the page, on a free port unless one is given, until Ctrl-C; returns its address.

    Without ``wait`` it is served by threads of this process. Raises OSError if the port is taken.
    """
    theme = gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"])
    options: dict[str, Any] = {"theme": theme, "css": CSS, "footer_links": [], "ssr_mode": False}
    _, address, _ = page(models, title).launch(
        server_name=HOST,
        server_port=port,
        share=False,
        quiet=True,
        max_file_size=MAX_FILE_SIZE,
        prevent_thread_lock=not wait,
        **options,
    )
    return str(address)


def _about(student: Classifier) -> str:
    run = student.manifest.run
    height, width = student.preprocessing.image_size
    return (
        f"`{run.get('cell') or run.get('name')}` on `{run.get('dataset')}`:"
        f" {len(student.classes)} classes, images of {width} x {height} pixels"
    )
