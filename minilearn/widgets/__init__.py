"""Interactive figures: pictures that are drawn beforehand, and modules that compute in the page."""

from minilearn.widgets.drag_threshold import drag_threshold
from minilearn.widgets.draw_prediction import draw_prediction
from minilearn.widgets.follow_points import follow_points
from minilearn.widgets.interactive import Interactive
from minilearn.widgets.judge_candidate import judge_candidate
from minilearn.widgets.paint_digit import paint_digit
from minilearn.widgets.pictures import MAX_FRAMES, Explorer, explorer, live
from minilearn.widgets.stop_ascent import stop_ascent
from minilearn.widgets.withdraw_point import withdraw_point
