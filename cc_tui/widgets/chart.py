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
            case Chart.BAR:
                # The first row is drawn at the bottom otherwise.
                plot.bar(drawing.labels[::-1], drawing.y[::-1], orientation="horizontal", width=0.5)
            case Chart.HISTOGRAM:
                plot.hist(drawing.x, bins=_BINS)
            case Chart.SCATTER:
                plot.scatter(drawing.x, drawing.y)
            case Chart.LINE:
                plot.plot(drawing.x, drawing.y)
            case Chart.NONE:
                return
        across, up = drawing.x_title, drawing.y_title
        if drawing.chart is Chart.BAR:
            across, up = up, across
        plot.xlabel(across)
        plot.ylabel(up)
        self.refresh()
