"""Draws the chart of a query's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual_plotext import PlotextPlot

from cc_tui.state.charts import Chart

if TYPE_CHECKING:
    from cc_tui.state.charts import Drawing

_BINS = 20


class ResultChart(PlotextPlot, can_focus=True):
    """A chart in the colours of the theme."""

    DEFAULT_CSS = """
    ResultChart { height: 1fr; }
    """

    def draw(self, drawing: Drawing) -> None:
        """Show a drawing, whose texts are printable."""
        plot = self.plt
        plot.clear_figure()
        match drawing.chart:
            case Chart.HISTOGRAM:
                plot.hist(drawing.x, bins=_BINS)
            case Chart.SCATTER:
                plot.scatter(drawing.x, drawing.y)
            case Chart.LINE:
                plot.plot(drawing.x, drawing.y)
            case Chart.NONE | Chart.BAR:
                return
        plot.xlabel(drawing.x_title)
        plot.ylabel(drawing.y_title)
        self.refresh()
