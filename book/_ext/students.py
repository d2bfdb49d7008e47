"""Where Colab finds the pages that are no files of the main branch: beside the published site."""

HERE, PUBLISHED = "/blob/main/notebooks/students/", "/blob/gh-pages/_sources/notebooks/students/"


def redirect(app, pagename, templatename, context, doctree):
    """Lead a page's launch button to the branch that holds the built site."""
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if isinstance(button.get("url"), str):
                button["url"] = button["url"].replace(HERE, PUBLISHED)


def setup(app):
    """Run after the theme has made its buttons."""
    app.connect("html-page-context", redirect, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
