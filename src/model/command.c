#include "model/command.h"
#include <stdarg.h>
#include "base/text.h"

void command_answer_text(struct command *c, unsigned status, const char *fmt, ...)
{
    struct command_answer answer = {.status = status, .content_type = "text/html"};
    struct textbuf text = {0};
    va_list ap;

    va_start(ap, fmt);
    textbuf_vprintf(&text, fmt, ap);
    va_end(ap);
    answer.body = textbuf_take(&text);
    if (!answer.body)
        answer = (struct command_answer){.status = 500};
    c->answer(c, &answer);
}

void command_answer_json(struct command *c, unsigned status, char *json)
{
    struct command_answer answer = {.status = status, .content_type = "application/json", .body = json};

    if (!json)
        answer = (struct command_answer){.status = 500};
    c->answer(c, &answer);
}
