//! Templates against what jinja2 prints.
