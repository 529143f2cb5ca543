"""An IPython extension that gives figures alternative text, for people who can't see them.

The text is what is written in the figure: its titles, axis labels, categories and legend. It goes into the
output's metadata as `alt`, where `IPython.display.Image` puts it too. nbconvert reads it there; JupyterLab
doesn't without the extension in `lab/labextensions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from IPython.display import publish_display_data

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Display each Matplotlib figure with its alternative text. IPython calls this when a kernel starts."""
    formatters = shell.display_formatter.formatters

    def display_described(figure: Figure) -> None:
        data, metadata = {}, {}
        for mime_type, formatter in formatters.items():
            content = formatter(figure)
            if content is None:
                continue
            data[mime_type], details = content if isinstance(content, tuple) else (content, {})
            if mime_type.startswith("image/"):
                metadata[mime_type] = {**details, "alt": describe(figure)}
        publish_display_data(data, metadata)

    display_formatter = shell.display_formatter.ipython_display_formatter
    display_formatter.for_type_by_name("matplotlib.figure", "Figure", display_described)


def describe(figure: Figure) -> str:
    """Return the words in a figure, for example "Title: Petals. Horizontal axis: length (cm)."."""
    scales = [panel for panel in figure.axes if panel.get_label() == "<colorbar>"]
    panels = [panel for panel in figure.axes if panel not in scales]
    legends = [*figure.legends, *filter(None, (panel.get_legend() for panel in panels))]
    words = {
        "Title": unique([figure.get_suptitle(), *(panel.get_title() for panel in panels)]),
        "Horizontal axis": unique(words_on(panel.xaxis) for panel in panels),
        "Vertical axis": unique(words_on(panel.yaxis) for panel in panels),
        "Color": unique(words_on(scale.yaxis) for scale in scales),
        "Legend": unique(text.get_text() for legend in legends for text in legend.get_texts()),
        "Text": [text.get_text() for panel in panels for text in panel.texts],
    }
    said = [f"{name}: {', '.join(found)}." for name, found in words.items() if found]
    return " ".join(said) or "A figure without words."


def words_on(axis: Axis) -> str:
    """Return the label of an axis, followed by its categories if it has some: "flower (rose, tulip)"."""
    label = axis.label.get_text()
    if type(axis.get_major_locator()).__name__ not in ("FixedLocator", "StrCategoryLocator"):
        return label
    categories = ", ".join(filter(None, (tick.get_text() for tick in axis.get_ticklabels())))
    return f"{label} ({categories})" if label else categories


def unique(texts: Iterable[str]) -> list[str]:
    """Return each text that isn't empty once, in the order of its first appearance."""
    return list(dict.fromkeys(filter(None, texts)))
