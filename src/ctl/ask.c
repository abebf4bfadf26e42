#include "ctl/ask.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>
#include "base/text.h"

/* One line without its line feed; false at the end of the input. */
static bool read_line(char *ret, size_t size)
{
    size_t len = 0;
    int c;

    (void)fflush(stdout);
    while ((c = getchar()) != EOF && c != '\n')
        if (len + 1 < size)
            ret[len++] = (char)c;
    ret[len] = '\0';
    if (c == EOF && len == 0) {
        (void)fprintf(stderr, "%sAborted!\n", isatty(STDIN_FILENO) ? "\n" : "");
        return false;
    }
    return true;
}

bool ask_text(const char *question, const char *preset, char *ret, size_t size)
{
    do {
        if (preset)
            printf("%s [%s]: ", question, preset);
        else
            printf("%s: ", question);
        if (!read_line(ret, size))
            return false;
        if (!*ret && preset)
            (void)text_copy(ret, size, preset);
    } while (!*ret && !preset);
    return true;
}

bool ask_password(char *ret, size_t size)
{
    struct termios before, silent;
    bool terminal = tcgetattr(STDIN_FILENO, &before) == 0, answered;

    printf("Password: ");
    (void)fflush(stdout);
    if (terminal) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    }
    answered = read_line(ret, size);
    if (terminal) {
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        printf("\n");
    }
    return answered;
}

enum ask_answer ask_confirm(const char *fmt, ...)
{
    char answer[ASK_SIZE];
    va_list ap;

    for (;;) {
        va_start(ap, fmt);
        (void)vprintf(fmt, ap);
        va_end(ap);
        printf(" [y/N]: ");
        if (!read_line(answer, sizeof(answer)))
            return ASK_ABORTED;
        if (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0)
            return ASK_YES;
        if (!*answer || strcasecmp(answer, "n") == 0 || strcasecmp(answer, "no") == 0)
            return ASK_NO;
        printf("Error: invalid input\n");
    }
}
