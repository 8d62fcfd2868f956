"""What is known of a model on held-out rows: an ``Assessment``, section by section, for
pages, files and notebooks.
"""
