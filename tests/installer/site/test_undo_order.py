"""installer.site.undo_order: releases before what they need, namespaces last."""

from __future__ import annotations

from airbundle.installer.site.undo_order import in_order, name_of

NODE = {"node": "n1", "access": "local"}
DNS = {"restore": "v1/ConfigMap/kube-system/coredns", "file": "before/coredns.json"}
CUSTOM = {"object": "v1/ConfigMap/kube-system/coredns-custom"}
SPACE = {"object": "v1/Namespace//shop"}
CHANGED = {"restore": "v1/Namespace//theirs", "file": "before/a.json"}
SECRET = {"object": "v1/Secret/shop/a"}
HELM = {"helm": "shop/web"}
FILE = {"file": "/a"}


def test_parts_come_in_their_order_and_the_newest_first_in_each() -> None:
    # Nodes were set anew after the releases had come up: they are the newest, and go after them all the same.
    newest_first = [NODE, SECRET, HELM, FILE, CUSTOM, DNS, CHANGED, SPACE, {"newer": "kind"}]
    assert list(in_order(newest_first)) == [
        ("releases", [SECRET, HELM, CHANGED, {"newer": "kind"}]),
        ("dns", [CUSTOM, DNS]),
        ("nodes", [NODE]),
        ("files", [FILE]),
        ("namespaces", [SPACE]),
    ]


def test_what_may_take_long_is_told_by_its_name() -> None:
    assert [name_of(each) for each in (HELM, NODE, SECRET)] == ["release shop/web", "node n1", ""]
