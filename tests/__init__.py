"""A package, so that it is found before another ``tests``: packages of data bring one into site-packages.

Folders below need no such file.
"""
