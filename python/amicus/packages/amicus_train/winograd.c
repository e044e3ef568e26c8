// Winograd's transforms for F(4 x 4, 3 x 3), from and to images of f32 stored pixel by pixel (NHWC).
//
// Transformed values lie in 36 planes, one a place in the 6 x 6 tile, each [images, tiles down, tiles across, channels].
// Height and width are multiples of 4, channels of 8. Every function goes over memory once, for
// the images first to last - 1.

#include <stdint.h>
#include <string.h>

enum { W = 8 }; // channels at a time

typedef float V __attribute__((vector_size(4 * W), aligned(4)));

static inline V load(const float *from) {
    V v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, V v) { memcpy(to, &v, sizeof v); }

// The matrices of the method and their transposes, applied in place to values `s` apart.

static inline void to_input(V *d, int s) {
    V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    V a = d4 - 4 * d2, b = d3 - 4 * d1, c = d4 - d2, e = 2 * (d3 - d1);
    d[0] = 4 * d0 - 5 * d2 + d4, d[s] = a + b, d[2 * s] = a - b;
    d[3 * s] = c + e, d[4 * s] = c - e, d[5 * s] = 4 * d1 - 5 * d3 + d5;
}

static inline void from_input(V *d, int s) {
    V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    V p = d1 + d2, m = d2 - d1, q = d3 + d4, n = 2 * (d4 - d3);
    d[0] = 4 * d0, d[s] = 4 * m + n + 4 * d5, d[2 * s] = -5 * d0 - 4 * p - q;
    d[3 * s] = -m - n - 5 * d5, d[4 * s] = d0 + p + q, d[5 * s] = d5;
}

static inline void to_result(V *d, int s) {
    V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s], d4 = d[4 * s], d5 = d[5 * s];
    V p = d1 + d2, m = d1 - d2, q = d3 + d4, n = d3 - d4;
    d[0] = d0 + p + q, d[s] = m + 2 * n, d[2 * s] = p + 4 * q, d[3 * s] = m + 8 * n + d5;
}

static inline void from_result(V *d, int s) {
    V d0 = d[0], d1 = d[s], d2 = d[2 * s], d3 = d[3 * s];
    V p = d0 + d2, m = d1 + d3, q = d0 + 4 * d2, n = 2 * d1 + 8 * d3;
    d[0] = d0, d[s] = p + m, d[2 * s] = p - m, d[3 * s] = q + n, d[4 * s] = q - n, d[5 * s] = d3;
}

typedef struct {
    int64_t images, down, across, channels; // images, tiles of each, channels
    int64_t first, last;
} Work;

#define FOR_TILES                                                                                                      \
    const int64_t down = work->down, across = work->across, channels = work->channels;                                 \
    const int64_t height = 4 * down, width = 4 * across, plane = work->images * down * across * channels;              \
    (void)height;                                                                                                      \
    for (int64_t n = work->first; n < work->last; n++)                                                                 \
        for (int64_t y = 0; y < down; y++)                                                                             \
            for (int64_t x = 0; x < across; x++)                                                                       \
                for (int64_t c = 0; c < channels; c += W)

// Place of a tile's channel c in every plane, and of its pixel (i, j) in the image.
#define TILE (((n * down + y) * across + x) * channels + c)
#define PIXEL(i, j) (((n * height + 4 * y + (i)) * width + 4 * x + (j)) * channels + c)
#define INSIDE(i, j) (4 * y + (i) >= 0 && 4 * y + (i) < height && 4 * x + (j) >= 0 && 4 * x + (j) < width)

// 6 x 6 tiles of images with a border of one pixel of zeros, transformed.
void transform_input(const float *image, float *planes, const Work *work) {
    FOR_TILES {
        V d[36];
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++)
                d[6 * i + j] = INSIDE(i - 1, j - 1) ? load(image + PIXEL(i - 1, j - 1)) : (V){0};
        for (int j = 0; j < 6; j++)
            to_input(d + j, 6);
        for (int i = 0; i < 6; i++)
            to_input(d + 6 * i, 1);
        for (int k = 0; k < 36; k++)
            store(planes + k * plane + TILE, d[k]);
    }
}

// The other way for the gradient: adjoint of `transform_input`.
void transform_back(const float *planes, float *image, const Work *work) {
    const int64_t size = 16 * work->down * work->across * work->channels;
    memset(image + work->first * size, 0, sizeof(float) * (work->last - work->first) * size);
    FOR_TILES {
        V d[36];
        for (int k = 0; k < 36; k++)
            d[k] = load(planes + k * plane + TILE);
        for (int j = 0; j < 6; j++)
            from_input(d + j, 6);
        for (int i = 0; i < 6; i++)
            from_input(d + 6 * i, 1);
        // Neighbouring tiles share two rows and two columns.
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 6; j++)
                if (INSIDE(i - 1, j - 1)) {
                    float *to = image + PIXEL(i - 1, j - 1);
                    store(to, load(to) + d[6 * i + j]);
                }
    }
}

// Products to the 4 x 4 results of every tile.
void transform_products(const float *planes, float *image, const Work *work) {
    FOR_TILES {
        V d[36];
        for (int k = 0; k < 36; k++)
            d[k] = load(planes + k * plane + TILE);
        for (int j = 0; j < 6; j++)
            to_result(d + j, 6);
        for (int i = 0; i < 4; i++)
            to_result(d + 6 * i, 1);
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                store(image + PIXEL(i, j), d[6 * i + j]);
    }
}

// Adjoint of `transform_products`.
void transform_gradient(const float *image, float *planes, const Work *work) {
    FOR_TILES {
        V d[36];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                d[6 * i + j] = load(image + PIXEL(i, j));
        for (int j = 0; j < 4; j++)
            from_result(d + j, 6);
        for (int i = 0; i < 6; i++)
            from_result(d + 6 * i, 1);
        for (int k = 0; k < 36; k++)
            store(planes + k * plane + TILE, d[k]);
    }
}
