"""Pages with the viewer in them."""

import pytest

from liftjax import viewer


@pytest.fixture
def show(open_page, tmp_path):
    """Opens a document's page; in the end it must have had no problem."""

    def show_document(document, title="poses", **settings):
        path = tmp_path / f"page{len(list(tmp_path.iterdir()))}.html"
        path.write_text(viewer.page(document, title), encoding="utf-8")
        page = open_page(path, **settings)
        page.settle()
        return page

    return show_document
