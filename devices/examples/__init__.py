"""Devices as they exist already, each written with what its makers had at hand.

They know nothing of the lake. Every one is run by a test against the local cloud.
"""
