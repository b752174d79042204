// Quizzes: pick an answer, check it, read why. The words come from the page; without this script they unfold below.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  for (const quiz of document.querySelectorAll(".quiz")) {
    const questions = [...quiz.querySelectorAll(".quiz-question")];
    const total = document.createElement("p");
    total.className = "quiz-total";
    total.setAttribute("role", "status");
    for (const question of questions) {
      const options = [...question.querySelectorAll(".quiz-option")];
      const answers = [...question.querySelectorAll(".quiz-answer li")];
      const said = document.createElement("p");
      said.className = "quiz-said";
      said.setAttribute("role", "status");
      const check = document.createElement("button");
      check.type = "button";
      check.textContent = "Check";
      const forget = () => {
        said.replaceChildren();
        for (const option of options) option.classList.remove("right", "wrong");
      };
      check.addEventListener("click", () => {
        forget();
        const picked = options.findIndex((option) => option.querySelector("input").checked);
        if (picked < 0) {
          said.textContent = "Pick an answer first.";
          return;
        }
        const right = answers[picked].classList.contains("right");
        options[picked].classList.add(right ? "right" : "wrong");
        said.append(answers[picked].querySelector(".quiz-why").cloneNode(true));
        question.dataset.result = right ? "right" : "wrong";
        const count = questions.filter((one) => one.dataset.result === "right").length;
        const asked = questions.filter((one) => one.dataset.result).length;
        if (asked === questions.length) total.textContent = `${count} of ${questions.length} right.`;
      });
      for (const option of options) option.addEventListener("change", forget);
      question.querySelector(".quiz-answer").before(check, said);
    }
    quiz.append(total);
  }
});
