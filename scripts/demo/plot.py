# SPDX-License-Identifier: MIT
"""Curves and tables as text."""

WIDTH = 64


def _columns(values):
    """The largest value of each column's share of the samples."""
    if len(values) <= WIDTH:
        return list(values)
    return [max(values[i * len(values) // WIDTH:max((i + 1) * len(values) // WIDTH, i * len(values) // WIDTH + 1)])
            for i in range(WIDTH)]


def chart(title, lines, top, seconds, unit, height=8):
    """lines: [(mark, values)]; where two marks meet there is a '#'."""
    print(f'\n  {title}')
    lines = [(mark, _columns(values)) for mark, values in lines]
    for row in range(height, -1, -1):
        text = ''
        for x in range(max(len(values) for _, values in lines)):
            marks = {mark for mark, values in lines
                     if x < len(values) and round(min(values[x], top) / top * height) == row}
            text += marks.pop() if len(marks) == 1 else '#' if marks else ' '
        print(f'  {top * row / height:8.0f} {unit:2} |{text.rstrip()}')
    print(f'  {"":11} +{"-" * WIDTH}')
    print(f'  {"":13}0 s{f"{seconds:.0f} s":>{WIDTH - 3}}')


def table(rows):
    """rows: [(what, result, held)]"""
    width = max(len(row[0]) for row in rows)
    middle = max(len(row[1]) for row in rows)
    print()
    for what, result, held in rows:
        print(f'  {what:{width}}  {result:{middle}}  {"ok" if held else "FAILED"}')
