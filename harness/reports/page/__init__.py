"""``report.html``: a whole run as one page that needs nothing but a browser."""

from harness.reports.page.render import page_html, stylesheet
from harness.reports.page.seen import Sightings

__all__ = ["Sightings", "page_html", "stylesheet"]
