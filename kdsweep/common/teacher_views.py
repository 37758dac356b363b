"""What a teacher sees of a batch: `teacher.view`."""

# Exactly what its students see; before random colours and erasing; the view of evaluation.
SAME, WEAK, CENTRE = TEACHER_VIEWS = ("same", "weak", "centre")
