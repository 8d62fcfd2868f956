"""Reading tables, saying what each column is, encoding it feature by feature, splitting, named data sets, known truth.

The modules, in the order in which data passes: ``table`` (files), ``cells`` and ``column_types`` (what a cell and a
column is),
``statistics`` (mergeable), ``scaling``, ``planning`` and ``encoding`` (the numbers a network sees), ``groups``,
``splitting``, ``datasets`` and ``truth``.
"""
