"""What is not looked at for doctests."""

# It registers a device with torch as soon as it is imported: a script, for processes of its own.
collect_ignore = ["shared/on_pretended.py"]
