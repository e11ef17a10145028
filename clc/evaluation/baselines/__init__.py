"""Baselines that Pillow does not bring, each a `clc.evaluation.coders.Coder`, or the reason why one is missing.

Every module has functions that return a coder or raise `Unavailable`; `clc.evaluation.coders.find_baselines` asks them.
A quality is 0 to 100 for all of them, so that files of equal size can be searched for; what it means says `settings`.
"""
