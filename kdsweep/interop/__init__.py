"""Interoperability: the loss options of other repositories as overrides for train.py.

It is the implementation of the command that converts weights and temperatures.

- repositories: REPOSITORIES, translate
- mdistiller: METHODS
- translation: Translation
"""
