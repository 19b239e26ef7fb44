"""What an evaluation of a real/bogus model measures, one question a file: arrays in, small tables out.

`gueststar.realbogus.evaluate` has the measures themselves: areas, rates with exact intervals, thresholds.
`gueststar.report.evaluation` makes a page of all this.
"""
