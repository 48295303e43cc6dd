"""Pages with the viewer in them."""

import pytest

from liftjax import viewer


@pytest.fixture
def show(browser, tmp_path):
    """Opens a document's page; in the end it must have had no problem."""
    pages = []

    def open_page(document, title="poses", **settings):
        path = tmp_path / f"page{len(pages)}.html"
        path.write_text(viewer.page(document, title), encoding="utf-8")
        pages.append(browser.open(path, **settings))
        pages[-1].settle()
        return pages[-1]

    yield open_page
    for page in pages:
        page.check()
        page.close()
