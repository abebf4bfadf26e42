#include "config/source.h"
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "config/lists.h"
#include "io/file.h"

struct origin {
    size_t file;
    unsigned line;
};

struct source {
    struct textbuf text;
    struct string_list files;
    struct origin *lines; /* of each line of text */
    size_t n_lines;
    bool line_is_open; /* the last of lines has not ended yet */
    bool failed;       /* memory ran out */
    bool incomplete;   /* what libconfig would make of the text is of no use */
    struct config_problems *problems;
};

/* One file while it is copied. */
struct cursor {
    const char *at, *end;
    size_t file;
    unsigned line;
    unsigned depth;
};

static void copy_file(struct source *s, size_t file, const char *text, size_t len, unsigned depth);

static void open_line(struct source *s, const struct cursor *c)
{
    struct origin *lines = reallocarray(s->lines, s->n_lines + 1, sizeof(*lines));

    if (!lines) {
        s->failed = true;
        return;
    }
    s->lines = lines;
    s->lines[s->n_lines++] = (struct origin){.file = c->file, .line = c->line};
    s->line_is_open = true;
}

static void copy_char(struct source *s, struct cursor *c)
{
    if (!s->line_is_open)
        open_line(s, c);
    textbuf_append(&s->text, c->at, 1);
    if (*c->at == '\n') {
        s->line_is_open = false;
        c->line++;
    }
    c->at++;
}

static void copy_chars(struct source *s, struct cursor *c, size_t n)
{
    while (n-- > 0 && c->at < c->end)
        copy_char(s, c);
}

static void complain(struct source *s, const struct cursor *c, unsigned line, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

static void complain(struct source *s, const struct cursor *c, unsigned line, const char *hint, const char *fmt, ...)
{
    struct problem_place place = {s->files.items[c->file], line, ""};
    va_list ap;

    va_start(ap, fmt);
    problems_vadd(s->problems, PROBLEM_ERROR, place, hint, fmt, ap);
    va_end(ap);
}

static bool starts_with(const struct cursor *c, const char *prefix)
{
    size_t len = strlen(prefix);

    return (size_t)(c->end - c->at) >= len && memcmp(c->at, prefix, len) == 0;
}

static void copy_string(struct source *s, struct cursor *c)
{
    unsigned begin = c->line;

    copy_char(s, c);
    while (c->at < c->end && *c->at != '"')
        copy_chars(s, c, *c->at == '\\' ? 2 : 1);
    if (c->at == c->end) {
        complain(s, c, begin, NULL, "string that begins here has no end");
        s->incomplete = true;
        return;
    }
    copy_char(s, c);
}

static void copy_block_comment(struct source *s, struct cursor *c)
{
    unsigned begin = c->line;

    copy_chars(s, c, 2);
    while (c->at < c->end && !starts_with(c, "*/"))
        copy_char(s, c);
    if (c->at == c->end) {
        complain(s, c, begin, NULL, "comment that begins here has no end");
        s->incomplete = true;
        return;
    }
    copy_chars(s, c, 2);
}

static void copy_line_comment(struct source *s, struct cursor *c)
{
    while (c->at < c->end && *c->at != '\n')
        copy_char(s, c);
}

static bool is_name_char(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_' || ch == '-' || ch == '*';
}

/* Needs 64 bits, but says so to nobody: decimal "4294967296" or hexadecimal "0x80000000" without an L. */
static bool is_wide_integer(const char *number, size_t len, bool *ret_too_large)
{
    char digits[32];
    char *end;
    unsigned long long value;
    bool is_hex = len > 2 && number[0] == '0' && (number[1] == 'x' || number[1] == 'X');

    *ret_too_large = false;
    if (strspn(number, is_hex ? "0123456789xXabcdefABCDEF" : "0123456789") < len)
        return false;
    if (len >= sizeof(digits)) {
        *ret_too_large = true;
        return false;
    }
    memcpy(digits, number, len);
    digits[len] = '\0';
    errno = 0;
    value = strtoull(digits, &end, is_hex ? 16 : 10);
    *ret_too_large = *end == '\0' && (errno == ERANGE || value > INT64_MAX);
    return *end == '\0' && !*ret_too_large && value > INT32_MAX;
}

static void copy_number(struct source *s, struct cursor *c)
{
    const char *number = c->at;
    size_t len = 0, digits;
    bool wide, too_large;

    while (c->at + len < c->end && (isalnum((unsigned char)number[len]) || number[len] == '.'))
        len++;
    /* "L" and "LL" already there: only the size is looked at. */
    for (digits = len; digits > 1 && number[digits - 1] == 'L';)
        digits--;
    wide = is_wide_integer(number, digits, &too_large);
    if (too_large)
        complain(s, c, c->line, NULL, "number \"%.*s\" is too large", (int)(len < 40 ? len : 40), number);
    copy_chars(s, c, len);
    if (wide && digits == len)
        textbuf_puts(&s->text, "L");
}

/* The directory of the including file is where relative names start, as in the C preprocessor. */
static char *resolve(const struct source *s, const struct cursor *c, const char *name, size_t len)
{
    const char *includer = s->files.items[c->file];
    const char *slash = strrchr(includer, '/');
    struct textbuf b = {0};

    if (name[0] != '/' && slash)
        textbuf_append(&b, includer, (size_t)(slash - includer) + 1);
    textbuf_append(&b, name, len);
    return textbuf_take(&b);
}

static void include_file(struct source *s, const struct cursor *c, const char *path)
{
    CLEANUP(freep) char *text = NULL;
    struct err err = {0};
    size_t len = 0;
    unsigned depth = c->depth + 1;

    if (depth > SOURCE_DEPTH_MAX) {
        complain(s, c, c->line, NULL, "cannot include \"%s\": more than %d files inside each other", path,
                 SOURCE_DEPTH_MAX);
        return;
    }
    if (file_read(path, SOURCE_BYTES_MAX, &text, &len, &err) < 0) {
        complain(s, c, c->line, NULL, "cannot include: %s", err.msg);
        return;
    }
    if (!strings_add(&s->files, path)) {
        s->failed = true;
        return;
    }
    copy_file(s, s->files.n - 1, text, len, depth);
    explicit_bzero(text, len);
}

/* At '@include "name"' the file's text takes the place of these words. False if something else is here. */
static bool try_include(struct source *s, struct cursor *c)
{
    const char *name = c->at + strlen("@include");
    const char *name_end;
    CLEANUP(freep) char *path = NULL;

    if (!starts_with(c, "@include"))
        return false;
    while (name < c->end && (*name == ' ' || *name == '\t'))
        name++;
    name_end = name < c->end && *name == '"' ? memchr(name + 1, '"', (size_t)(c->end - name - 1)) : NULL;
    if (!name_end || memchr(name, '\n', (size_t)(name_end - name)))
        return false;
    path = resolve(s, c, name + 1, (size_t)(name_end - name - 1));
    if (!path) {
        s->failed = true;
        return true;
    }
    include_file(s, c, path);
    c->at = name_end + 1;
    return true;
}

static void copy_token(struct source *s, struct cursor *c)
{
    if (*c->at == '"') {
        copy_string(s, c);
    } else if (*c->at == '#' || starts_with(c, "//")) {
        copy_line_comment(s, c);
    } else if (starts_with(c, "/*")) {
        copy_block_comment(s, c);
    } else if (isdigit((unsigned char)*c->at)) {
        copy_number(s, c);
    } else if (is_name_char(*c->at) && *c->at != '-') {
        while (c->at < c->end && is_name_char(*c->at))
            copy_char(s, c);
    } else if (*c->at == '@') {
        /* Never let libconfig see its directive: it would open the file itself. */
        if (!try_include(s, c)) {
            complain(s, c, c->line, "Write @include \"file\" on a line of its own.", "syntax error at \"@\"");
            s->incomplete = true;
            c->at++;
        }
    } else {
        copy_char(s, c);
    }
}

static void end_line(struct source *s)
{
    if (s->line_is_open)
        textbuf_puts(&s->text, "\n");
    s->line_is_open = false;
}

static void copy_file(struct source *s, size_t file, const char *text, size_t len, unsigned depth)
{
    struct cursor c = {.at = text, .end = text + len, .file = file, .line = 1, .depth = depth};
    const char *nul = memchr(text, '\0', len);

    end_line(s); /* of the including file: this one's first line is a line of its own */
    if (nul) {
        complain(s, &c, 0, NULL, "the file contains a NUL byte: it is not a text file");
        c.end = nul;
    }
    if (s->text.len + len > SOURCE_BYTES_MAX) {
        complain(s, &c, 0, NULL, "more than %d bytes of configuration", SOURCE_BYTES_MAX);
        s->incomplete = true;
        return;
    }
    while (c.at < c.end && !s->failed)
        copy_token(s, &c);
    end_line(s);
}

int source_read(const char *path, const char *text, struct config_problems *problems, struct source **ret,
                struct err *err)
{
    CLEANUP(source_freep) struct source *s = calloc(1, sizeof(*s));
    CLEANUP(freep) char *content = NULL;
    size_t len = text ? strlen(text) : 0;
    int r;

    if (!s || !strings_add(&s->files, path))
        return err_set(err, -ENOMEM, "out of memory");
    s->problems = problems;
    if (!text) {
        r = file_read(path, SOURCE_BYTES_MAX, &content, &len, err);
        if (r < 0)
            return r;
    }
    copy_file(s, 0, text ? text : content, len, 0);
    if (content)
        explicit_bzero(content, len);
    textbuf_puts(&s->text, "");
    if (s->failed || s->text.failed)
        return err_set(err, -ENOMEM, "out of memory");
    *ret = STEAL(s);
    return 0;
}

struct source *source_free(struct source *s)
{
    if (!s)
        return NULL;
    if (s->text.data)
        explicit_bzero(s->text.data, s->text.len); /* passwords */
    textbuf_done(&s->text);
    strings_done(&s->files);
    free(s->lines);
    free(s);
    return NULL;
}

const char *source_text(const struct source *s)
{
    return s->text.data ? s->text.data : "";
}

bool source_is_complete(const struct source *s)
{
    return !s->incomplete;
}

struct problem_place source_place(const struct source *s, unsigned text_line)
{
    const struct origin *origin;

    if (text_line == 0 || s->n_lines == 0)
        return (struct problem_place){s->files.items[0], 0, ""};
    origin = &s->lines[text_line <= s->n_lines ? text_line - 1 : s->n_lines - 1];
    return (struct problem_place){s->files.items[origin->file], origin->line, ""};
}

char *source_line(const struct source *s, unsigned text_line)
{
    const char *line = source_text(s);

    for (; text_line > 1 && line; text_line--) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return line && *line && text_line == 1 ? strndup(line, strcspn(line, "\n")) : NULL;
}
