"""Golden numbers G36 and G37, and what eqs. 5-7 promise for any image."""
import pytest
import torch
from active_defects.models.blending import blend, normal_mean, restoration_targets
from hypothesis import given, settings
from hypothesis import strategies as st


def pixel(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.mark.parametrize("number, value", list(enumerate([0.88, 1, 0.82, 0.88, 0.82, 1, 0.88])), ids=str)
def test_golden_g36(number, value):
    assert blend(pixel(1.0), pixel(0.4), torch.tensor([number])).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("covered, value", [(1.0, 0.4), (0.0, 0.88)])
def test_golden_g37(covered, value):
    assert restoration_targets(pixel(0.88), pixel(0.4), pixel(covered)).item() == pytest.approx(value, abs=1e-6)


@given(count=st.integers(1, 6), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99), first=st.floats(0, 1), second=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_against_the_equations_image_by_image(count, channels, seed, first, second):
    chance = torch.Generator().manual_seed(seed)
    images, normals, masks = (torch.rand(count, c, 4, 5, generator=chance) for c in (channels, channels, 1))
    ids = torch.randint(0, 20, (count,), generator=chance)
    mixed = blend(images, normals, ids, first, second)
    answers = restoration_targets(mixed, normals, masks)
    for k in range(count):
        share = first if ids[k] % 3 == 0 else second if ids[k] % 2 == 0 else 1
        torch.testing.assert_close(mixed[k], share * images[k] + (1 - share) * normals[k])
        torch.testing.assert_close(answers[k], mixed[k] * (1 - masks[k]) + normals[k] * masks[k])
    assert 0 <= answers.min() and answers.max() <= 1


@given(parts=st.integers(1, 7), groups=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_a_normal_image_is_the_mean_of_each_group(parts, groups):
    images = torch.rand(groups, parts, 1, 3, 3, generator=torch.Generator().manual_seed(parts))
    torch.testing.assert_close(normal_mean(images), torch.stack([normal_mean(group) for group in images]))
    torch.testing.assert_close(normal_mean(images[0]), sum(images[0]) / parts)


def test_an_image_left_alone_is_left_alone_to_the_last_bit():
    images, normals = torch.rand(2, 5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    odd = torch.tensor([1, 5, 7, 11, 13])
    assert torch.equal(blend(images, normals, odd), images)
    assert torch.equal(restoration_targets(images, normals, torch.zeros(5, 1, 6, 6)), images)
    assert torch.equal(restoration_targets(images, normals, torch.ones(5, 1, 6, 6)), normals)


def test_nothing_is_changed_in_place():
    images, normals, masks = torch.rand(3, 2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    before = [t.clone() for t in (images, normals, masks)]
    restoration_targets(blend(images, normals, torch.arange(2)), normals, masks)
    assert all(torch.equal(a, b) for a, b in zip(before, (images, normals, masks)))


@pytest.mark.parametrize("call, message", [
    (lambda: normal_mean(torch.zeros(0, 1, 2, 2)), "at least one image"),
    (lambda: normal_mean(torch.zeros(1, 2, 2)), "at least one image"),
    (lambda: blend(torch.zeros(2, 1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(2, dtype=torch.long)), "one normal image and one id"),
    (lambda: blend(torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.zeros(1, dtype=torch.long)), "one normal image and one id"),
    (lambda: blend(torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2), torch.rand(2)), "ids are integers"),
    (lambda: restoration_targets(torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)), r"give masks of \(2, 1, 2, 2\)"),
    (lambda: restoration_targets(torch.zeros(2, 3, 2, 2), torch.zeros(1, 3, 2, 2), torch.zeros(2, 1, 2, 2)), "inputs are")])
def test_shapes_that_do_not_fit_say_so(call, message):
    with pytest.raises(ValueError, match=message): call()
