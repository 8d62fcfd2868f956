"""Reading tables, saying what each column is, encoding it feature by feature,
splitting, named data sets.
"""
