"""The page of one run or of several: a single HTML file that asks no network for anything."""

from exrep_hf.report.page.document import PAGE_NAME, make_page, write_page

__all__ = ["PAGE_NAME", "make_page", "write_page"]
