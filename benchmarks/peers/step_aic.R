# MASS::stepAIC as a worker: Rscript step_aic.R FOLDER poisson|nb2
# Loads the columns in FOLDER, prints "ready"; on "go" searches and prints "done SECONDS"; on "save" writes the answer.
suppressPackageStartupMessages(library(MASS))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
family <- arguments[2]

read <- function(name) {
  file <- file.path(folder, name)
  readBin(file, "numeric", file.size(file) / 8, size = 8, endian = "little")
}
y <- read("y")
x <- matrix(read("x"), nrow = length(y))
candidates <- sprintf("v%02d", seq_len(ncol(x)))
colnames(x) <- candidates
data <- data.frame(y = y, x)
scope <- list(lower = ~1, upper = reformulate(candidates))
cat("ready\n")

input <- file("stdin", "r")
while (length(line <- readLines(input, 1)) > 0) {
  if (line == "go") {
    seconds <- system.time({
      start <- if (family == "poisson") glm(y ~ 1, family = poisson, data = data) else glm.nb(y ~ 1, data = data)
      model <- stepAIC(start, scope = scope, direction = "both", k = log(length(y)), trace = 0)
    })
    cat("done", seconds[["elapsed"]], "\n")
  } else {
    chosen <- match(names(coef(model))[-1], candidates)
    writeBin(as.integer(chosen), file.path(folder, "answer_columns"), endian = "little")
    writeBin(as.double(coef(model)), file.path(folder, "answer_b"), endian = "little")
    writeBin(as.double(logLik(model)), file.path(folder, "answer_likelihood"), endian = "little")
    cat("saved\n")
  }
}
