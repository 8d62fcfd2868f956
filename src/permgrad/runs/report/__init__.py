"""``pg.report``: the page of any model, and of several side by side."""
