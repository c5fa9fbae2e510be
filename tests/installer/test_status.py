from __future__ import annotations

from airbundle.installer.status import tag_findings


def test_of_very_many_wrong_tags_the_rest_is_counted() -> None:
    lines = [f"tag {number}" for number in range(25)]
    assert [each.message for each in tag_findings(lines, "https://r")] == [*lines[:20], "5 more tags are wrong"]
    assert [each.message for each in tag_findings(lines[:20], "https://r")] == lines[:20]
