/* The events to come: a binary heap, ordered by instant and then by tie. */
#include <assert.h>
#include "sim.h"

static bool is_before(const struct event *x, const struct event *y)
{
    return x->at_us < y->at_us || (x->at_us == y->at_us && x->tie < y->tie);
}

void queue_push(struct queue *q, struct event e)
{
    size_t i = q->n++;

    assert(q->n <= QUEUE_MAX);
    if (e.tie == 0)
        e.tie = ++q->next_tie;
    while (i > 0 && is_before(&e, &q->heap[(i - 1) / 2])) {
        q->heap[i] = q->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->heap[i] = e;
}

bool queue_pop(struct queue *q, struct event *ret)
{
    struct event last;
    size_t i = 0;

    if (q->n == 0)
        return false;
    *ret = q->heap[0];
    last = q->heap[--q->n];
    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= q->n)
            break;
        if (child + 1 < q->n && is_before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!is_before(&q->heap[child], &last))
            break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = last;
    return true;
}
