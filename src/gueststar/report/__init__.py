"""The report of a night: one HTML file that needs nothing beside it."""

from gueststar.report.page import write_report

__all__ = ["write_report"]
